import { createWebSocket } from "../../../src/runtime/bun.ts";
import { runClient } from "./websocket_client.ts";

await runClient(createWebSocket);

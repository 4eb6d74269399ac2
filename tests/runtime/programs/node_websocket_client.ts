import { createWebSocket } from "../../../src/runtime/node.ts";
import { runClient } from "./websocket_client.ts";

await runClient(createWebSocket);

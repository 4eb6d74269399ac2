import { createWebSocket } from "../../../src/runtime/deno.ts";
import { runClient } from "./websocket_client.ts";

await runClient(createWebSocket);

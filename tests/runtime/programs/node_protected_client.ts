import { createFetch, createWebSocket } from "../../../src/runtime/node.ts";
import { runClient } from "./protected_client.ts";

await runClient(createFetch, createWebSocket);

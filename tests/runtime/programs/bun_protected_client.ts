import { createFetch, createWebSocket } from "../../../src/runtime/bun.ts";
import { runClient } from "./protected_client.ts";

await runClient(createFetch, createWebSocket);

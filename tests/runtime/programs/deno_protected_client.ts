import { createFetch, createWebSocket } from "../../../src/runtime/deno.ts";
import { runClient } from "./protected_client.ts";

await runClient(createFetch, createWebSocket);

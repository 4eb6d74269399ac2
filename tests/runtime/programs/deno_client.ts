import { createFetch } from "../../../src/runtime/deno.ts";
import { runClient } from "./client.ts";

await runClient(createFetch);

import { createFetch } from "../../../src/runtime/deno.ts";
import { runClient } from "./mtls_client.ts";

await runClient(createFetch);

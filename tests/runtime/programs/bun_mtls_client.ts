import { createFetch } from "../../../src/runtime/bun.ts";
import { runClient } from "./mtls_client.ts";

await runClient(createFetch);

import { createFetch } from "../../../src/runtime/node.ts";
import { runClient } from "./mtls_client.ts";

await runClient(createFetch);

import { createFetch } from "../../../src/runtime/bun.ts";
import { runClient } from "./protected_client.ts";

await runClient(createFetch);

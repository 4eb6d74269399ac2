import { createFetch } from "../../../src/runtime/bun.ts";
import { runClient } from "./client.ts";

await runClient(createFetch);

import { createFetch } from "../../../src/runtime/node.ts";
import { runClient } from "./client.ts";

await runClient(createFetch);

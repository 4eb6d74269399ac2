import { createFetch } from "../../../src/runtime/deno.ts";
import { callAll } from "./not_sent.ts";

await callAll(createFetch);

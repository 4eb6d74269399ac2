import { createFetch } from "../../../src/runtime/bun.ts";
import { callAll } from "./not_sent.ts";

await callAll(createFetch);

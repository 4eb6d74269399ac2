import { createFetch } from "../../../src/runtime/node.ts";
import { callAll } from "./not_sent.ts";

await callAll(createFetch);

import { serve } from "../../../src/runtime/deno.ts";
import { runTarget } from "./target.ts";

await runTarget(serve);

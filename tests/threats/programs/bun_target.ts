import { serve } from "../../../src/runtime/bun.ts";
import { runTarget } from "./target.ts";

await runTarget(serve);

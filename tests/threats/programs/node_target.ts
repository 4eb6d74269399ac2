import { serve } from "../../../src/runtime/node.ts";
import { runTarget } from "./target.ts";

await runTarget(serve);

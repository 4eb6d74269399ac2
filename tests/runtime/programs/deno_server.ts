import { serve } from "../../../src/runtime/deno.ts";
import { runServer } from "./server.ts";

await runServer(serve);

import { serve } from "../../../src/runtime/deno.ts";
import { runServer } from "./protected_server.ts";

await runServer(serve);

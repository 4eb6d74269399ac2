import { serve } from "../../../src/runtime/deno.ts";
import { runServer } from "./mtls_server.ts";

await runServer(serve);

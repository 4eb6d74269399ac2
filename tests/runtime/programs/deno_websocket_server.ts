import { serve } from "../../../src/runtime/deno.ts";
import { runServer } from "./websocket_server.ts";

await runServer(serve);

import { serve } from "../../../src/runtime/bun.ts";
import { runServer } from "./websocket_server.ts";

await runServer(serve);

import { serve } from "../../../src/runtime/node.ts";
import { runServer } from "./websocket_server.ts";

await runServer(serve);

import { serve } from "../../../src/runtime/node.ts";
import { runServer } from "./protected_server.ts";

await runServer(serve);

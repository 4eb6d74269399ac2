import { serve } from "../../../src/runtime/node.ts";
import { runServer } from "./mtls_server.ts";

await runServer(serve);

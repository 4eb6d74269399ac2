import { serve } from "../../../src/runtime/bun.ts";
import { runServer } from "./mtls_server.ts";

await runServer(serve);

import { serve } from "../../../src/runtime/bun.ts";
import { runServer } from "./protected_server.ts";

await runServer(serve);

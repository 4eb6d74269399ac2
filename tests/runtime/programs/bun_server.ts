import { serve } from "../../../src/runtime/bun.ts";
import { runServer } from "./server.ts";

await runServer(serve);

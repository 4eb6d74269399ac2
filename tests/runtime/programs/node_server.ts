import { serve } from "../../../src/runtime/node.ts";
import { runServer } from "./server.ts";

await runServer(serve);

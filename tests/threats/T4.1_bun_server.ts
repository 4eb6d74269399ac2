/** The protected server on Bun, until it is ended. */
import process from "node:process";
import { serve } from "../../src/runtime/bun.ts";
import { serveProtected } from "./T4.1_server.ts";

const { port } = await serveProtected(serve, JSON.parse(process.argv[2]!));
console.log(`ready ${port}`);

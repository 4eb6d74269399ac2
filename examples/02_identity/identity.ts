// `deno task identity`: the server and a client, each with an identity of its own.
import { serve } from "@postern/rpc/deno";
import { devCa } from "../../tools/dev_ca.ts";
import { greet } from "./client.ts";
import server from "./server.ts";

const { ca, cert, key } = await devCa();
await using serving = await serve(server, { cert, key, port: 0 });
console.log(await greet(serving.url, "Ada", ca));

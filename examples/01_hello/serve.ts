// `deno task hello:serve`: the server on https://localhost:8443 until it is interrupted.
import { serve } from "@postern/rpc/deno";
import { devCa } from "../../tools/dev_ca.ts";
import server from "./server.ts";

const { ca: _, caPath, ...certificate } = await devCa();
await using serving = await serve(server, certificate);
console.log(`Listening on ${serving.url}, with a certificate of ${caPath}
Try:  curl --cacert ${caPath} --json '{"name":"Ada"}' ${serving.url}/greeter.v1/hello
Stop: Ctrl+C`);

await new Promise<void>((resolve) => {
  Deno.addSignalListener("SIGINT", resolve);
  Deno.addSignalListener("SIGTERM", resolve);
});
console.log("Finishing the calls in flight");

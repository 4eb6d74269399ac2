// `deno task chat:serve`: the site on https://localhost:8443 until it is interrupted, for browsers.
import type { Log } from "@postern/rpc/rpc";
import { devCa } from "../../tools/dev_ca.ts";
import { pageFiles } from "./page_files.ts";
import { startSite } from "./site.ts";

const { cert, key, caPath } = await devCa();
const page = await pageFiles();
const log: Log = ({ method, code, event }) => method && console.log(`${method}: ${code}: ${event}`);
await using site = await startSite({ cert, key, port: 8443, page, log });
console.log(`Open ${site.url} in two tabs; its certificate is of ${caPath}, which your browser does not know
Stop: Ctrl+C`);

await new Promise<void>((resolve) => {
  Deno.addSignalListener("SIGINT", resolve);
  Deno.addSignalListener("SIGTERM", resolve);
});
console.log("Finishing the calls in flight");

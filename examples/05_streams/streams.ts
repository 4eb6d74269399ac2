// `deno task streams`: prices until the client has seen enough, and a file whose way to the server can be watched.
import { cbor, fetchTransport } from "@postern/rpc";
import { prove } from "@postern/rpc/auth";
import { createFetch, serve } from "@postern/rpc/deno";
import { devCa } from "../../tools/dev_ca.ts";
import { join, trust } from "../02_identity/authority.ts";
import { upload, watch } from "./client.ts";
import { DESK, TRADER } from "./contracts.ts";
import { createDesk } from "./server.ts";

const { ca, cert, key } = await devCa();
using fetch = createFetch({ caCerts: [ca] });
const left = Promise.withResolvers<void>();
const desk = await createDesk(({ code, event, fields }) => {
  console.log(`  at the server: ${code ? `${code}: ` : ""}${event}`, ...fields ? [fields] : []);
  if (event === "The watcher has left") left.resolve();
});
await using serving = await serve(desk, { cert, key, port: 0 });
const prover = prove({ identity: await join(TRADER), trust, peer: DESK });
const transport = fetchTransport(serving.url, { prover, fetch, codec: cbor() });

const prices = await watch(transport, "KETL", 3);
console.log(`KETL at ${prices.join(", ")}: enough`);
const late = setTimeout(() => left.reject(new Error("The server has not noticed that its caller left")), 5_000);
await left.promise.finally(() => clearTimeout(late));

const file = new Blob(Array.from({ length: 16 }, () => crypto.getRandomValues(new Uint8Array(65_536))));
const sha256 = await upload(transport, file, (storedBytes) => {
  const percent = 100 * storedBytes / file.size;
  if (percent % 25 === 0) console.log(`${percent} % of ${file.size} bytes are stored`);
});
const expected = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer())).toHex();
if (sha256 !== expected) throw new Error("What is stored is not what was sent");
console.log("What is stored is what was sent");

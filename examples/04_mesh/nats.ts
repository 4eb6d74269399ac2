// `deno task mesh:nats`: the same story, with a registry in NATS. It starts a nats-server of its own, as your operators
// would: with TLS, a user for the instances who may write the bucket, and one for the shop who may only read it.
import { createFetch } from "@postern/rpc/deno";
import { natsRegistry } from "@postern/rpc/registry";
import { findNats, launchNats } from "../../tests/servers/nats.ts";
import { devCa } from "../../tools/dev_ca.ts";
import { STOCK } from "./contract.ts";
import { tellStory } from "./story.ts";

const program = await findNats();
if (program.path === undefined) {
  console.error("There is no nats-server on this machine: apt-get install nats-server");
  Deno.exit(1);
}
await using nats = await launchNats(program.path);
const [service, client] = [await nats.connect("service"), await nats.connect("client")];
const [written, read] = [await nats.open(service), await nats.open(client)];

const { ca, cert, key } = await devCa();
using fetch = createFetch({ caCerts: [ca] });

await tellStory({
  reach: ({ id }) => id === STOCK ? natsRegistry(service, written) : natsRegistry(client, read),
  cert,
  key,
  fetch,
  show: console.log,
});

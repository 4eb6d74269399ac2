// `deno task mesh:etcd`: the same story, with a registry in etcd. It starts an etcd of its own, as your operators would:
// with TLS, a user for the instances who may write, and one for the shop who may only read.
import { createFetch } from "@postern/rpc/deno";
import { etcdRegistry } from "@postern/rpc/registry";
import { findEtcd, launchEtcd } from "../../tests/servers/launch.ts";
import { devCa } from "../../tools/dev_ca.ts";
import { STOCK } from "./contract.ts";
import { tellStory } from "./story.ts";

const program = await findEtcd();
if (program.path === undefined) {
  console.error("There is no etcd on this machine: apt-get install etcd-server");
  Deno.exit(1);
}
const prefix = "/postern/default/";
await using etcd = await launchEtcd(program.path, {
  users: { stock: { right: "READWRITE", prefix }, shop: { right: "READ", prefix } },
});

const { ca, cert, key } = await devCa();
using fetch = createFetch({ caCerts: [ca] });

await tellStory({
  reach({ id }) {
    const user = id === STOCK ? "stock" : "shop";
    return etcdRegistry({ url: etcd.url, user, password: `${user}-password`, fetch: etcd.fetch });
  },
  cert,
  key,
  fetch,
  show: console.log,
});

import { allow, type Identity, issueCapability, memoryReplay, policy, protect, prove } from "../../src/auth/mod.ts";
import { memoryRegistry, registryService, remoteRegistry } from "../../src/registry/mod.ts";
import { createServer, fetchTransport } from "../../src/rpc/mod.ts";
import { DOMAIN, type World } from "../auth/_world.ts";
import { collect } from "../rpc/_rig.ts";
import { registryConformance, type RegistryUnderTest } from "./_conformance.ts";

registryConformance(
  "memoryRegistry()",
  ({ now }) => Promise.resolve({ registry: memoryRegistry({ now }), [Symbol.asyncDispose]: async () => {} }),
  { expires: "clock", list: true },
);

registryConformance("remoteRegistry()", remote, { expires: "clock", list: true });

const REGISTRY = `spiffe://${DOMAIN}/registry`;

/** A registry that is served, and called by identities that prove themselves. */
async function remote({ now, trust, authority, join }: World, orders: Identity): Promise<RegistryUnderTest> {
  const own = ["register", "deregister", "resolve"].map((method) => `postern.registry.v1/${method}`);
  const service = registryService(memoryRegistry({ now }), { trust, now });
  const guard = protect({
    identity: await join(REGISTRY, { serves: ["postern.registry.v1"] }),
    trust,
    policy: policy([
      allow({ caller: `spiffe://${DOMAIN}/*`, call: own }),
      allow({ capability: true, call: "postern.registry.v1/list" }),
    ]),
    replay: memoryReplay({ now }),
    now,
  });
  const server = createServer(service, { guard, log: collect().log });
  const fetch = (url: string, init: RequestInit) => server.fetch(new Request(url, init));
  const as = (identity: Identity) => {
    const calling = { identity, trust, peer: REGISTRY, now };
    const capability = () =>
      issueCapability(authority, { holder: identity.id, tools: { "postern.registry.v1/list": {} } }, { now });
    const [plain, entitled] = [prove(calling), prove({ ...calling, capability })]
      .map((prover) => remoteRegistry(fetchTransport("https://registry.test", { prover, fetch })));
    return { ...plain!, list: entitled!.list };
  };
  return {
    registry: as(orders),
    as,
    async [Symbol.asyncDispose]() {
      service[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

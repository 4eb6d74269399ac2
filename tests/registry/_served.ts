// A registry service behind `protect`, and clients of it that prove who they are.
import {
  allow,
  type Capability,
  type Identity,
  issueCapability,
  memoryReplay,
  policy,
  protect,
  prove,
  type Rule,
} from "../../src/auth/mod.ts";
import {
  memoryRegistry,
  type Registry,
  RegistryService,
  registryService,
  type RegistryServiceOptions,
  remoteRegistry,
} from "../../src/registry/mod.ts";
import { anonymous, createClient, createServer, fetchTransport, type Server } from "../../src/rpc/mod.ts";
import { watchedAudit } from "../auth/_world.ts";
import { collect } from "../rpc/_rig.ts";
import { DOMAIN, type Rig } from "./_rig.ts";

export const REGISTRY = `spiffe://${DOMAIN}/registry`;
const METHOD = "postern.registry.v1/";

/** Who may call what, as the documentation of `registryService` shows it. */
export const RULES: readonly Rule[] = [
  allow({ role: "service", call: [`${METHOD}register`, `${METHOD}deregister`] }),
  allow({ role: ["service", "client"], call: `${METHOD}resolve` }),
  allow({ capability: true, call: `${METHOD}list` }),
];

export interface Served extends AsyncDisposable {
  readonly server: Server;
  readonly store: Registry;
  readonly audit: ReturnType<typeof watchedAudit>;
  /** The registry as an identity sees it; without one, as somebody who proves nothing. */
  as(identity: Identity | undefined, capability?: Capability): Registry;
  /** The same, as a client of the service. */
  client(identity: Identity, capability?: Capability): ReturnType<typeof clientOf>;
  /** A right to list, for an identity. */
  rightToList(holder: Identity, tools?: readonly string[]): Promise<Capability>;
}

const clientOf = (transport: ReturnType<typeof fetchTransport>) => createClient(RegistryService, transport);

export async function served(
  world: Rig,
  options: Partial<RegistryServiceOptions> & { readonly rules?: readonly Rule[]; readonly store?: Registry } = {},
): Promise<Served> {
  const { trust, now, authority } = world;
  const { rules = RULES, store = memoryRegistry({ now }), ...more } = options;
  const audit = watchedAudit();
  const service = registryService(store, { trust, now, audit, ...more });
  const identity = await world.join(REGISTRY, { serves: ["postern.registry.v1"] });
  const guard = protect({ identity, trust, policy: policy(rules), audit, replay: memoryReplay({ now }), now });
  const server = createServer(service, { guard, log: collect().log });
  const transportOf = (caller: Identity | undefined, capability?: Capability) => {
    const fetch = (url: string, init: RequestInit) => server.fetch(new Request(url, init));
    const prover = caller
      ? prove({ identity: caller, trust, peer: REGISTRY, now, ...capability ? { capability } : {} })
      : anonymous();
    return fetchTransport("https://registry.test", { prover, fetch });
  };
  return {
    server,
    store,
    audit,
    as: (caller, capability) => remoteRegistry(transportOf(caller, capability)),
    client: (caller, capability) => clientOf(transportOf(caller, capability)),
    rightToList: ({ id }, tools = ["list"]) => {
      const map = Object.fromEntries(tools.map((tool) => [`${METHOD}${tool}`, {}]));
      return issueCapability(authority, { holder: id, tools: map }, { now });
    },
    async [Symbol.asyncDispose]() {
      service[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

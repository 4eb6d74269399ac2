// A registry as a service of its own, in memory. It keeps what is signed, and nobody trusts it with more.
import { createServer, fetchTransport } from "@postern/rpc";
import type { Log } from "@postern/rpc/rpc";
import { allow, type Identity, policy, protect, prove } from "@postern/rpc/auth";
import { type RuntimeFetch, serve } from "@postern/rpc/deno";
import {
  type EndpointOptions,
  memoryRegistry,
  type Registry,
  registryService,
  remoteRegistry,
} from "@postern/rpc/registry";
import { join, trust } from "../02_identity/authority.ts";
import { REGISTRY, SHOP } from "./contract.ts";

/** Everything in these examples is on this machine, which has to be said. */
export const endpoints: EndpointOptions = { hosts: ["localhost"] };

const rules = policy([
  // Anyone of the domain may try; the registry takes a record only of the identity that it names, for what that may serve.
  allow({
    caller: "spiffe://example.org/*",
    call: ["postern.registry.v1/register", "postern.registry.v1/deregister"],
  }),
  allow({ caller: SHOP, call: "postern.registry.v1/resolve" }),
]);

/** A registry that runs. */
export interface RunningRegistry extends AsyncDisposable {
  /** The registry as somebody reaches it over TLS. */
  reach(identity: Identity): Registry;
}

/** What a registry runs with. */
export interface RegistryOptions {
  readonly cert: string;
  readonly key: string;
  readonly fetch: RuntimeFetch;
  /** Where its log goes. @default {the error output} */
  readonly log?: Log;
}

export async function startRegistry({ cert, key, fetch, log }: RegistryOptions): Promise<RunningRegistry> {
  const service = registryService(memoryRegistry(), { trust, endpoints });
  const identity = await join(REGISTRY, ["postern.registry.v1"]);
  const server = createServer(service, { guard: protect({ identity, trust, policy: rules }), ...log && { log } });
  const serving = await serve(server, { cert, key, port: 0 });
  return {
    reach: (identity) =>
      remoteRegistry(fetchTransport(serving.url, { prover: prove({ identity, trust, peer: REGISTRY }), fetch })),
    async [Symbol.asyncDispose]() {
      service[Symbol.dispose](); // whoever waits for a change has an answer now
      await serving[Symbol.asyncDispose]();
    },
  };
}

// One instance of the service: it serves, and says where, in which version, and for how long.
import { createServer, implement } from "@postern/rpc";
import { allow, type Identity, policy, protect } from "@postern/rpc/auth";
import { serve } from "@postern/rpc/deno";
import { announce, type Registry } from "@postern/rpc/registry";
import { join, trust } from "../02_identity/authority.ts";
import { SHOP, STOCK, Stock } from "./contract.ts";

const rules = policy([allow({ caller: SHOP, call: "stock.v1/*" })]);

/** What an instance runs with. */
export interface InstanceOptions {
  readonly name: string;
  readonly version: string;
  /** The registry as this instance reaches it. */
  readonly registry: (identity: Identity) => Registry;
  readonly cert: string;
  readonly key: string;
}

/** An instance that runs; disposing it ends it without losing a call. */
export interface RunningInstance extends AsyncDisposable {
  /** Cuts its connections and tells nobody, as when its machine is gone. */
  kill(): Promise<void>;
}

export async function startInstance({ name, version, registry, cert, key }: InstanceOptions): Promise<RunningInstance> {
  const identity = await join(STOCK, ["stock.v1"]);
  const by = `${name} ${version}`;
  const stock = implement(Stock, { count: () => ({ left: 7, by }), take: () => ({ left: 6, by }) });
  const server = createServer(stock, { guard: protect({ identity, trust, policy: rules }) });
  const serving = await serve({ fetch: server.fetch }, { cert, key, port: 0, drainMs: 0 });
  const announcement = await announce(server, {
    registry: registry(identity),
    identity,
    endpoints: [serving.url],
    version,
    settleMs: 500, // the shop follows the registry; who only asks it every few seconds needs the default
    onError: () => {}, // one that was killed has nothing to report
  });
  return {
    async kill() {
      await serving[Symbol.asyncDispose]();
    },
    async [Symbol.asyncDispose]() {
      await announcement[Symbol.asyncDispose](); // first nobody calls any more,
      await server[Symbol.asyncDispose](); // then everybody has an answer,
      await serving[Symbol.asyncDispose](); // then nobody listens
    },
  };
}

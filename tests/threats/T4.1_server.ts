/** A protected server with its own identity, as a program of any runtime starts it. */
import {
  allow,
  createTrust,
  importIdentity,
  importKey,
  memoryReplay,
  policy,
  protect,
  secret,
  type TrustBundle,
} from "../../src/auth/mod.ts";
import { createServer, implement } from "../../src/rpc/mod.ts";
import type { FetchServer, ServeOptions, Serving } from "../../src/runtime/runtime.ts";
import { Echo } from "../rpc/_rig.ts";

/** What the server is given. */
export interface ProtectedInput {
  readonly serving: ServeOptions;
  readonly trustDomain: string;
  readonly bundle: TrustBundle;
  /** The private key as a JWK, and the token that names it. */
  readonly key: string;
  readonly token: string;
  readonly caller: string;
}

/** Serves an echo that says how many messages have reached its handlers. */
export async function serveProtected(
  serve: (server: FetchServer, options: ServeOptions) => Promise<Serving>,
  { serving, trustDomain, bundle, key, token, caller }: ProtectedInput,
): Promise<Serving> {
  let count = 0;
  const handle = ({ text }: { readonly text: string }) => ({ text: `${text} ${++count}` });
  const server = createServer(implement(Echo, { say: handle, look: handle, hidden: handle }), {
    guard: protect({
      identity: importIdentity(await importKey(secret(key)), token),
      trust: await createTrust({ [trustDomain]: bundle }),
      policy: policy([allow({ caller, call: "echo.v1/*" })]),
      // As if it had started 2 s ago: in its first second a server asks every caller to prove again.
      replay: memoryReplay({ now: () => Date.now() - 2_000 }),
    }),
    log: () => {},
  });
  return await serve(server, serving);
}

import { allow, policy, protect, prove } from "../../src/auth/mod.ts";
import { type Incoming, ProveAgainError, RpcError, type Seal } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Echo } from "../rpc/_rig.ts";
import { ECHO, WEB, world } from "./_world.ts";

test("protect() lets a caller have as many connections as calls, and another when one is over", async () => {
  const { join, now, trust } = await world();
  const identity = await join(ECHO, { serves: ["echo.v1"] });
  const rules = policy([allow({ caller: WEB, call: "echo.v1/*" })]);
  const guard = protect({ identity, trust, policy: rules, now, maxConcurrentCallsPerCaller: 2 });
  guard.start([Echo], () => {})?.[Symbol.dispose]();
  const url = "https://echo.test/postern.v1";
  const web = await join(WEB);
  const encryptionKey = (await identity.encryptionKey()).jwk;
  const workload = await trust.verify((await identity.credential()).token.reveal());
  const prover = prove({ identity: web, trust, peer: ECHO, now, server: { encryptionKey, workload } });

  const connect = async () => {
    const { headers } = await prover.prove({ method: "GET", url, headers: {}, body: undefined, call: undefined });
    const incoming: Incoming = {
      method: undefined,
      request: { method: "GET", url, headers: new Headers(headers) },
      carries: "connection",
      body: () => Promise.resolve(new Uint8Array()),
      correlationId: "c",
      sealRefusal(_seal: Seal) {},
    };
    return await guard.admit(incoming);
  };
  const isFull = (error: unknown) =>
    error instanceof RpcError && !(error instanceof ProveAgainError) && error.code === "resource_exhausted";

  const first = await connect();
  await connect();
  await assert.rejects(connect(), isFull);
  first.end!();
  await connect();
  await assert.rejects(connect(), isFull);
});

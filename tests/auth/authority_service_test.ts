import {
  type Authority,
  authorityService,
  createAuthority,
  createTrust,
  generateIdentity,
  joinTokens,
  remoteAuthority,
} from "../../src/auth/mod.ts";
import { createServer, publicOnly, type RpcError } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { collect } from "../rpc/_rig.ts";
import { DOMAIN, WEB } from "./_world.ts";

/** An authority that is called. */
async function called(authority?: Authority) {
  const tokens = joinTokens();
  const office = authority ?? await createAuthority(DOMAIN, { attestors: [tokens] });
  const { log, entries } = collect();
  const guard = publicOnly(["postern.authority.v1/enroll", "postern.authority.v1/bundle"]);
  const server = createServer(authorityService(office), { guard, log });
  return { tokens, office, entries, remote: remoteAuthority(DOMAIN, server.call) };
}

test("remoteAuthority() issues what the authority does, and renews it", async () => {
  const { tokens, office, remote } = await called();
  const token = tokens.create({ id: WEB, serves: ["echo.v1"] });
  const identity = await generateIdentity(remote, { evidence: { type: "join_token", token } });
  const trust = await createTrust({ [DOMAIN]: office.bundle() });
  const { id, serves } = await trust.verify((await identity.credential()).token.reveal());
  assert.deepEqual([id, serves], [WEB, ["echo.v1"]]);
});

test("remoteAuthority() gives the signed bundle, which moves a trust on", async () => {
  const { office, remote } = await called();
  const trust = await createTrust({ [DOMAIN]: office.bundle() });
  assert.equal(await trust.update(await remote.signedBundle()), false);
  await office.rotate();
  assert.equal(await trust.update(await remote.signedBundle()), true);
});

test("authorityService() tells who is not attested no more than that, and notes why", async () => {
  const { remote, entries } = await called();
  const evidence = { type: "join_token", token: "made-up" };
  await assert.rejects(generateIdentity(remote, { evidence }), (error: RpcError) => {
    return error.code === "permission_denied" && error.message === "Cannot issue an identity";
  });
  assert.match(String((entries[0]!.cause as Error).message), /join token/);
});

test("authorityService() masks what is none of the caller's business", async () => {
  const office = await createAuthority(DOMAIN);
  const broken = { ...office, enroll: () => Promise.reject(new Error("the disk is full")) };
  const { remote } = await called(broken as unknown as Authority);
  await assert.rejects(
    remote.enroll("x"),
    (error: RpcError) => error.code === "internal" && !/disk/.test(error.message),
  );
});

test("authorityService() takes no request that is longer than one can be", async () => {
  const { remote } = await called();
  await assert.rejects(remote.enroll("x".repeat(16_385)), (error: RpcError) => error.code === "invalid_argument");
});

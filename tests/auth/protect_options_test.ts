import { allow, policy, protect, type ProtectOptions } from "../../src/auth/mod.ts";
import { createServer, implement } from "../../src/rpc/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Echo } from "../rpc/_rig.ts";
import { ECHO, WEB, world } from "./_world.ts";

const rules = [allow({ caller: WEB, call: "echo.v1/*" })];

describe("protect() refuses to be built", () => {
  const build = async (change: Partial<Record<keyof ProtectOptions, unknown>>) => {
    const at = await world();
    const identity = await at.join(ECHO, { serves: ["echo.v1"] });
    return protect({ identity, trust: at.trust, policy: policy(rules), ...change } as ProtectOptions);
  };
  const handlers = {
    say: (m: { text: string }) => m,
    look: (m: { text: string }) => m,
    hidden: (m: { text: string }) => m,
  };

  for (const name of ["identity", "trust", "policy"] as const) {
    test(`protect() refuses to be built without "${name}"`, async () => {
      await assert.rejects(build({ [name]: undefined }), new TypeError(`Cannot protect a server without "${name}"`));
    });
  }

  test("protect() refuses to be built without anything", () => {
    assert.throws(() => protect(undefined as never), TypeError);
    assert.throws(() => protect(null as never), TypeError);
  });

  for (const max of [0, -1, 1.5, NaN, Infinity, "1"]) {
    test(`protect() refuses ${max} calls of a caller`, async () => {
      await assert.rejects(build({ maxConcurrentCallsPerCaller: max }), RangeError);
    });
  }

  for (const path of ["api", "/", "/api/", "//api", "/a b", "/a?b", "/a#b", "/a%2f"]) {
    test(`protect() refuses to be mounted at ${path}`, async () => {
      await assert.rejects(build({ mountedAt: path }), TypeError);
    });
  }

  for (const audience of ["", "a b", 'a"b', "a\\b", "é", "a\n", "x".repeat(2_049)]) {
    test(`protect() refuses the audience ${JSON.stringify(audience.slice(0, 10))}`, async () => {
      await assert.rejects(build({ audiences: ["https://good.test", audience] }), TypeError);
    });
  }

  test("protect() refuses to serve what its identity may not", async () => {
    const at = await world();
    const guard = await build({ identity: await at.join(ECHO, { serves: ["other.v1"] }) });
    assert.throws(() => createServer(implement(Echo, handlers), { guard }), /may not serve it/);
  });

  test("protect() refuses a policy that does not fit what is served", async () => {
    const guard = await build({ policy: policy([allow({ caller: WEB, call: "echo.v1/nothing" })]) });
    assert.throws(() => createServer(implement(Echo, handlers), { guard }), /no "echo.v1\/nothing"/);
  });

  test("protect() keeps its identity fresh for as long as the server lives", async () => {
    const at = await world();
    const identity = await at.join(ECHO, { serves: ["echo.v1"] });
    let fresh = 0;
    const watched = {
      ...identity,
      keepFresh() {
        fresh++;
        return { [Symbol.dispose]: () => void fresh-- };
      },
    };
    const server = createServer(implement(Echo, handlers), { guard: await build({ identity: watched }) });
    assert.equal(fresh, 1);
    await server[Symbol.asyncDispose]();
    assert.equal(fresh, 0);
  });
});

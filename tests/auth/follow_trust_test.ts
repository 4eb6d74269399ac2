import { type AuthError, followTrust } from "../../src/auth/mod.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { gate } from "../rpc/_rig.ts";
import { ECHO, WEB, world } from "./_world.ts";

for (const everyMs of [0, 99, NaN, -1, 86_400_001, Infinity]) {
  test(`followTrust() refuses to look every ${everyMs} ms`, async () => {
    const { trust, authority } = await world();
    assert.throws(() => followTrust(trust, authority, { everyMs }), RangeError);
  });
}

test("followTrust() takes over what was revoked, and goes on looking", async () => {
  const { trust, authority, join } = await world();
  const web = await join(WEB);
  const echo = await join(ECHO);
  const token = async (identity: typeof web) => (await identity.credential()).token.reveal();
  for (const identity of [web, echo]) {
    const again = gate();
    authority.revoke({ ids: [identity.id] });
    let looks = 0;
    const source = {
      signedBundle() {
        if (++looks === 2) again.open(); // so the first one is over
        return authority.signedBundle();
      },
    };
    using _following = followTrust(trust, source, { everyMs: 100 });
    await again.opened;
    await assert.rejects(trust.verify(await token(identity)), (error: AuthError) => error.reason === "revoked");
  }
});

test("followTrust() tells of a look that failed, and looks again", async () => {
  const { trust, authority } = await world();
  const errors: unknown[] = [];
  const twice = gate();
  const source = { signedBundle: () => Promise.reject(new Error(`${errors.length}`)) };
  const onError = (error: unknown) => errors.push(error) === 2 && twice.open();
  using _following = followTrust(trust, source, { everyMs: 100, onError });
  await twice.opened;
  assert.deepEqual(errors.map((error) => (error as Error).message), ["0", "1"]);
  assert.equal(await trust.update(await authority.signedBundle()), false);
});

test("followTrust() asks nobody any more once it has ended", async () => {
  const { trust, authority } = await world();
  const first = gate();
  let looks = 0;
  const source = {
    signedBundle() {
      looks++;
      first.open();
      return authority.signedBundle();
    },
  };
  const following = followTrust(trust, source, { everyMs: 100 });
  await first.opened;
  following[Symbol.dispose]();
  await new Promise((resolve) => setTimeout(resolve, 250));
  assert.equal(looks, 1);
});

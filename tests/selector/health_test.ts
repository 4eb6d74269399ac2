import { type Health, healthOf, tooSlow, type Verdict } from "../../src/selector/health.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { clock } from "../auth/_world.ts";

function rig() {
  const now = clock(0);
  const health = healthOf(now);
  const take = (verdict: Verdict, tookMs = 10) => health.observe({ verdict, tookMs, isProbe: false });
  return {
    now,
    health,
    see: (...verdicts: readonly Verdict[]) => verdicts.map((verdict) => take(verdict)),
    take,
    /** How a probe ended. */
    probed: (verdict: Verdict, tookMs = 10) => health.observe({ verdict, tookMs, isProbe: true }),
    /** Lets it fail as a probe, as soon as it may be one, and tells after how long that was. */
    failAgain() {
      const waitedMs = health.probeAtMs! - now();
      now.pass(waitedMs);
      assert.ok(health.probe(true));
      health.observe({ verdict: "failed", tookMs: 10, isProbe: true });
      return waitedMs;
    },
  };
}

test("healthOf() begins well", () => {
  const { health } = rig();
  assert.equal(health.isEjected, false);
  assert.equal(health.probeAtMs, undefined);
  assert.equal(health.probe(true), false);
});

test("observe() ejects after three failures in a row, for a second", () => {
  const { health, see } = rig();
  assert.deepEqual(see("failed", "failed"), [false, false]);
  assert.equal(health.isEjected, false);
  assert.deepEqual(see("failed"), [true]);
  assert.equal(health.isEjected, true);
  assert.equal(health.probeAtMs, 1_000);
});

test("observe() counts failures in a row only", () => {
  const { health, see } = rig();
  see("failed", "failed", "fine", "failed", "failed", "fine", "failed", "failed");
  assert.equal(health.isEjected, false);
});

test("observe() takes no account of what says nothing", () => {
  const { health, see } = rig();
  assert.deepEqual(see("failed", "none", "failed", "none", "none", "none"), [false, false, false, false, false, false]);
  assert.deepEqual(see("failed"), [true]);
  assert.ok(health.isEjected);
});

test("observe() ejects at once where there is no connection", () => {
  const { health, see } = rig();
  assert.deepEqual(see("down"), [true]);
  assert.equal(health.probeAtMs, 1_000);
});

test("observe() keeps it out for twice as long after each probe that fails, up to a minute", () => {
  const { see, failAgain } = rig();
  see("down");
  const waits = Array.from({ length: 9 }, failAgain);
  assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
});

test("observe() does not count what other calls come to while it is ejected", () => {
  const { health, see, now } = rig();
  see("down");
  now.pass(500);
  assert.deepEqual(see("down", "failed", "failed", "failed"), [false, false, false, false]);
  assert.equal(health.probeAtMs, 1_000);
});

test("observe() takes it back after a probe that went well, and says so", () => {
  const { health, see, probed, now } = rig();
  see("down");
  now.pass(1_000);
  assert.ok(health.probe(true));
  assert.equal(probed("fine"), true);
  assert.equal(health.isEjected, false);
  assert.equal(health.probeAtMs, undefined);
});

test("observe() wants three failures again of one that is back", () => {
  const { health, see, probed, now } = rig();
  see("failed", "failed", "failed");
  now.pass(1_000);
  health.probe(true);
  probed("fine");
  see("failed", "failed");
  assert.equal(health.isEjected, false);
  see("failed");
  assert.equal(health.isEjected, true);
});

test("observe() does not take it back for a call that began before it was ejected", () => {
  const { health, see, now } = rig();
  see("down");
  now.pass(999);
  assert.deepEqual(see("fine"), [false]);
  assert.ok(health.isEjected);
  now.pass(1); // where too few are left, all are called
  assert.deepEqual(see("fine"), [true]);
  assert.equal(health.isEjected, false);
});

test("probe() lets one call through at a time, when it is time", () => {
  const { health, see, now } = rig();
  see("down");
  now.pass(999);
  assert.equal(health.probe(true), false);
  now.pass(1);
  assert.deepEqual([health.probe(true), health.probe(true), health.probe(false)], [true, false, false]);
  now.pass(100_000);
  assert.equal(health.probe(true), false, "it is still under way");
});

test("probe() lets a call that cannot be made elsewhere wait twice as long", () => {
  const { health, see, probed, now } = rig();
  see("down");
  now.pass(1_999);
  assert.equal(health.probe(false), false);
  now.pass(1);
  assert.equal(health.probe(false), true);
  probed("failed"); // out for two seconds
  now.pass(3_999);
  assert.equal(health.probe(false), false);
  now.pass(1);
  assert.equal(health.probe(false), true);
});

test("probe() lets the next call through after one that said nothing", () => {
  const { health, see, probed, now } = rig();
  see("down");
  now.pass(1_000);
  assert.ok(health.probe(true));
  assert.equal(probed("none"), false);
  assert.ok(health.isEjected);
  assert.equal(health.probe(true), true);
});

for (const older of ["none", "failed", "down"] as const) {
  test(`observe() does not take an older call's end for the probe's: ${older}`, () => {
    const { health, see, probed, now } = rig();
    see("down");
    now.pass(1_000);
    assert.ok(health.probe(true));
    assert.deepEqual(see(older, older, older, older), [false, false, false, false]);
    assert.equal(health.probeAtMs, 1_000, "the probe is what counts");
    assert.equal(health.probe(true), false, "it is still under way");
    assert.equal(probed("failed"), false);
    assert.equal(health.probeAtMs, 3_000, "it was ejected twice, and not more often");
    now.pass(2_000);
    assert.equal(health.probe(true), true);
  });
}

test("observe() believes the probe, also where it was ejected again in the meantime", () => {
  const { health, see, probed, now } = rig();
  see("down");
  now.pass(1_000);
  assert.ok(health.probe(true));
  see("fine", "down");
  assert.equal(probed("fine"), true, "it answered after it had been down");
  assert.equal(health.isEjected, false);
});

test("observe() lets nobody else try it where an older call has taken it back and it was ejected again meanwhile", () => {
  const { health, see, probed, now } = rig();
  see("down");
  now.pass(1_000);
  assert.ok(health.probe(true));
  assert.deepEqual(see("fine", "down"), [true, true]);
  now.pass(100_000);
  assert.equal(health.probe(true), false, "the first one has not ended");
  assert.equal(probed("fine"), true);
  assert.equal(health.isEjected, false);
});

test("observe() forgets how often it was ejected once it has been well for longer than it was away", () => {
  for (const [wellMs, nextMs] of [[2_000, 4_000], [2_001, 1_000]] as const) {
    const { health, see, probed, now, failAgain } = rig();
    see("down");
    failAgain(); // away for two seconds now
    now.pass(2_000);
    health.probe(true);
    probed("fine");
    now.pass(wellMs);
    see("fine", "down");
    assert.equal(health.probeAtMs! - now(), nextMs, `well for ${wellMs} ms`);
  }
});

test("observe() does not forget for a call that ends well while it is away", () => {
  const { health, see, probed, now, failAgain } = rig();
  see("down");
  failAgain();
  see("fine");
  now.pass(2_000);
  health.probe(true);
  probed("failed");
  assert.equal(health.probeAtMs! - now(), 4_000);
});

test("observe() takes being overtaken for how slow it is, and for no failure", () => {
  const { health, take } = rig();
  for (let i = 0; i < 10; i++) assert.equal(take("overtaken", 200), false);
  assert.equal(health.isEjected, false);
  assert.ok(Math.abs(health.latencyMs! - 200) < 1e-9);
});

test("observe() does not forget failures for being overtaken", () => {
  const { health, see } = rig();
  assert.deepEqual(see("failed", "failed", "overtaken", "failed"), [false, false, false, true]);
  assert.equal(health.isEjected, true);
});

test("observe() does not take back an ejected instance for being overtaken", () => {
  const { health, see, now } = rig();
  see("down");
  now.pass(1_000);
  assert.deepEqual(see("overtaken"), [false]);
  assert.equal(health.isEjected, true);
});

test("observe() takes a probe that is overtaken for a failure", () => {
  const { health, see, probed, now } = rig();
  see("down");
  now.pass(1_000);
  assert.ok(health.probe(true));
  assert.equal(probed("overtaken", 1_000), false);
  assert.equal(health.probeAtMs! - now(), 2_000);
});

test("eject() keeps it out as a failure does", () => {
  const { health, failAgain } = rig();
  health.eject();
  assert.equal(health.isEjected, true);
  assert.deepEqual([failAgain(), failAgain()], [1_000, 2_000]);
});

test("latencyMs is known after ten calls that went well, and forgets what was before", () => {
  const { health, take } = rig();
  for (let i = 0; i < 9; i++) take("fine");
  for (let i = 0; i < 2; i++) take("failed", 5_000);
  assert.equal(health.latencyMs, undefined);
  take("fine");
  assert.ok(Math.abs(health.latencyMs! - 10) < 1e-9);
  take("fine", 60);
  assert.ok(Math.abs(health.latencyMs! - 20) < 1e-9, "the latest counts a fifth");
  for (let i = 0; i < 50; i++) take("fine", 200);
  assert.ok(Math.abs(health.latencyMs! - 200) < 1);
});

test("latencyMs begins with the first call, and the latest counts a fifth of it", () => {
  const { health, take } = rig();
  for (const tookMs of [1_000, 0, 0, 0, 0, 0, 0, 0, 0, 0]) take("fine", tookMs);
  assert.ok(Math.abs(health.latencyMs! - 1_000 * 0.8 ** 9) < 1e-6);
});

test("latencyMs is unknown again when it was ejected", () => {
  const { health, take, probed, now } = rig();
  for (let i = 0; i < 20; i++) take("fine", 900);
  health.eject();
  assert.equal(health.latencyMs, undefined);
  now.pass(1_000);
  health.probe(true);
  probed("fine");
  for (let i = 0; i < 9; i++) take("fine");
  assert.ok(Math.abs(health.latencyMs! - 10) < 1e-9, "what it did before counts for nothing");
});

const measured = (...latencies: readonly (number | undefined)[]) =>
  latencies.map((latencyMs) => ({ latencyMs, health: { isEjected: false, latencyMs } as Health }));
const slow = (...latencies: readonly (number | undefined)[]) =>
  tooSlow(measured(...latencies)).map(({ latencyMs }) => latencyMs);

test("tooSlow() finds who takes five times as long as the middle one, and a tenth of a second more", () => {
  assert.deepEqual(slow(50, 40, 250, 251), [251]);
  assert.deepEqual(slow(1, 1, 101, 102), [102]);
  assert.deepEqual(slow(1, 1, 1, 50), [], "five times next to nothing is nothing");
  assert.deepEqual(slow(100, 100, 400, 500), [], "five times and no more");
  assert.deepEqual(slow(100, 100, 501, 502), [501, 502]);
});

test("tooSlow() compares at least three that are known and not ejected", () => {
  assert.deepEqual(slow(1, 900), []);
  assert.deepEqual(slow(1, 900, undefined, undefined), []);
  assert.deepEqual(slow(1, 1, 900), [900]);
  const out = { latencyMs: 1, health: { isEjected: true, latencyMs: 1 } as Health };
  assert.deepEqual(tooSlow([...measured(1, 900), out]), []);
});

test("tooSlow() never finds all, nor half", () => {
  for (const latencies of [[900, 900, 900], [1, 900, 900], [1, 1, 900, 900]]) {
    assert.ok(slow(...latencies).length <= latencies.length / 2, latencies.join());
  }
});

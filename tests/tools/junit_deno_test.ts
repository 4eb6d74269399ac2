import assert from "node:assert/strict";
import { test } from "node:test";
import { countJUnit, summaryLine } from "../../tools/lib/junit.ts";
import { suiteResult } from "../../tools/lib/step.ts";

test("countJUnit() counts a group through its tests", () => {
  const xml = `<testcase name="plain"></testcase><testcase name="left out"><skipped/></testcase>
    <testcase name="group"><failure message="1 test step failed">1 test step failed.</failure></testcase>
    <testcase name="group &gt; inner"></testcase><testcase name="group &gt; inner &gt; good"/>
    <testcase name="group &gt; bad"><failure message="x">x</failure></testcase>`;
  assert.deepEqual(countJUnit(xml), { passed: 2, failed: 1, skipped: 1 });
});

test("countJUnit() counts a group that failed by itself", () => {
  const xml = `<testcase name="group"><failure message="a hook failed"/></testcase><testcase name="group &gt; good"/>`;
  assert.deepEqual(countJUnit(xml), { passed: 1, failed: 1, skipped: 0 });
});

test("suiteResult() makes a failure of a suite that crashed or ran nothing", () => {
  const passed = { passed: 3, failed: 0, skipped: 0 };
  const none = { passed: 0, failed: 0, skipped: 0 };
  assert.deepEqual(suiteResult({ code: 0, output: "" }, passed).tally, passed);
  assert.deepEqual(suiteResult({ code: 1, output: "" }, passed).tally, { ...passed, failed: 1 });
  assert.deepEqual(suiteResult({ code: 0, output: "" }, none).tally, { ...none, failed: 1 });
});

test("summaryLine() names skipped tests only where there are some", () => {
  assert.equal(summaryLine({ passed: 3, failed: 0, skipped: 0 }), "3 passed, 0 failed");
  assert.equal(summaryLine({ passed: 3, failed: 1, skipped: 2 }), "3 passed, 1 failed, 2 skipped");
});

import { test } from "node:test";
import { assertIvs } from "./_ivs.ts";

test("encryptData() never uses an IV twice in 100,000 messages, or a million with POSTERN_MILLION=1", async () => {
  await assertIvs(Deno.env.get("POSTERN_MILLION") ? 1_000_000 : 100_000);
});

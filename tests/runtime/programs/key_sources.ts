/** Uses every key source and the file sink once, on whatever runtime it runs, and prints how that went. */
import { spawnSync } from "node:child_process";
import { argv, env } from "node:process";
import { auditLog } from "../../../src/audit/mod.ts";
import { fileSink } from "../../../src/runtime/file_sink.ts";
import { keyFromEnvironment } from "../../../src/runtime/key_environment.ts";
import { keyFromFile, writeKeyFile } from "../../../src/runtime/key_file.ts";

const [folder, isAllowed] = argv.slice(2) as [string, string];

/** How an attempt ended: the thumbprint of its key, or the error. */
const end = (attempt: Promise<{ readonly thumbprint: string }>) => attempt.then((key) => key.thumbprint, String);

const made = await writeKeyFile(`${folder}/made.jwk`);
const ends = {
  made: made.thumbprint,
  again: await end(keyFromFile(`${folder}/made.jwk`)),
  exists: await end(writeKeyFile(`${folder}/made.jwk`)),
  open: await end(keyFromFile(`${folder}/open.jwk`)),
  link: await end(keyFromFile(`${folder}/link.jwk`)),
  pipe: await end(keyFromFile(`${folder}/pipe`)),
  variable: await end(keyFromEnvironment("POSTERN_KEY")),
  gone: env["POSTERN_KEY"] === undefined,
  inherited: isAllowed === "yes" && String(spawnSync("env").stdout).includes("POSTERN_KEY"),
};
// Node 20 has no `await using`.
const log = auditLog(await fileSink(`${folder}/a.log`), { signer: { id: "spiffe://example.org/a", ...made } });
log.record({ event: "call.allow" });
await log[Symbol.asyncDispose]();
console.log(JSON.stringify(ends));

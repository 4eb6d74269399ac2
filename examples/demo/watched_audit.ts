import { auditLog, memorySink, verifyAudit } from "@postern/rpc/audit";
import type { Identity } from "@postern/rpc/auth";
import type { Audit, AuditEvent } from "@postern/rpc/rpc";

/** One entry as it is stored. */
export interface Entry extends AuditEvent {
  readonly index: number;
}

/** A service's audit log in memory. */
export interface WatchedAudit extends Audit, AsyncDisposable {
  /** What was recorded since the last time somebody asked. */
  fresh(): Promise<readonly Entry[]>;
  /** Ends the log, and says what verifying it finds in it, and in a copy with one bit of an entry changed. */
  verify(about: string): Promise<{ readonly sound: string; readonly edited: string }>;
}

/** Keeps an audit log that its service signs. */
export function watchedAudit(signer: Identity): WatchedAudit {
  const sink = memorySink();
  const log = auditLog(sink, { signer });
  let seen = 0;
  return {
    record: log.record,
    async fresh() {
      await log.flush();
      const entries = entriesOf(sink.text()).slice(seen);
      seen += entries.length;
      return entries;
    },
    async verify(about) {
      await log[Symbol.asyncDispose]();
      const bytes = new TextEncoder().encode(sink.text());
      const keys = [signer];
      const sound = await verifyAudit(bytes, { keys });
      bytes[sink.text().indexOf(about)]! ^= 1;
      const edited = await verifyAudit(bytes, { keys });
      if (!sound.ok || edited.ok) throw new Error("The audit log must be sound, and not when a bit of it was changed");
      const index = entriesOf(sink.text()).find(({ reason }) => reason === about)?.index;
      if (edited.index !== index || edited.lastIndex !== index) throw new Error("The changed entry must be named");
      return {
        sound: `intact: ${sound.size} entries, ${sound.checkpoints} signed checkpoints`,
        edited: `${edited.problem}: ${edited.message}`,
      };
    },
    [Symbol.asyncDispose]: () => log[Symbol.asyncDispose](),
  };
}

const entriesOf = (text: string): readonly Entry[] =>
  text.split("\n").filter((line) => line.startsWith('{"index"')).map((line) => JSON.parse(line));

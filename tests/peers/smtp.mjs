// An SMTP server: prints one JSON line with its port, then one for each mail it takes.
// `refused@…` is refused for good; `later@…` is put off once and then taken.
import { SMTPServer } from 'smtp-server';

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const putOff = new Set();

const server = new SMTPServer({
  authOptional: true,
  disabledCommands: ['STARTTLS'],
  onRcptTo({ address }, session, done) {
    const no = (code, text) => done(Object.assign(new Error(text), { responseCode: code }));
    if (address.startsWith('refused@')) return no(550, 'No such mailbox');
    if (address.startsWith('later@') && !putOff.has(address)) {
      putOff.add(address);
      return no(451, 'Try again later');
    }
    return done();
  },
  onData(stream, session, done) {
    let data = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk) => (data += chunk));
    stream.on('end', () => {
      const { mailFrom, rcptTo } = session.envelope;
      say({ from: mailFrom.address, to: rcptTo.map(({ address }) => address), data });
      done();
    });
  },
});
server.listen(0, '127.0.0.1', () => say({ port: server.server.address().port }));
process.stdin.on('end', () => process.exit(0)).resume();

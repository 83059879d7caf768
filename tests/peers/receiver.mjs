// A receiver of webhooks that checks signatures with the reference library: prints one JSON line with its port, then one for each
// request. PUT /secret sets the key; what the path says decides about the answer.
import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
let secret;
let flaky = 0;

const server = createServer((request, response) => {
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (chunk) => (body += chunk));
  request.on('end', () => {
    const { method, url, headers } = request;
    if (method === 'PUT' && url === '/secret') {
      secret = body;
      return response.end();
    }
    let verified = false;
    try {
      new Webhook(secret).verify(body, headers);
      verified = true;
    } catch (error) {
      verified = String(error);
    }
    say({ url, verified, id: headers['webhook-id'], signatures: headers['webhook-signature']?.split(' ').length, body });
    if (url === '/gone') response.statusCode = 410;
    if (url === '/broken') response.statusCode = 500;
    if (url === '/flaky' && flaky++ === 0) {
      response.statusCode = 503;
      response.setHeader('retry-after', '7');
    }
    if (url === '/redirect') {
      response.statusCode = 302;
      response.setHeader('location', '/stolen');
    }
    return response.end('ignored');
  });
});
server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));
process.stdin.on('end', () => process.exit(0)).resume();

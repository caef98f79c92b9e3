// A CloudFront function: /images/ID/auto?g=GENERATION&c=COPIES becomes the key of the first copy
// that the browser takes. COPIES are names of files, the smallest first, as the API lists them.
// Without a copy that it takes the request goes on as it is, and the bucket has nothing there.
var TYPES = { avif: 'image/avif', webp: 'image/webp', jpg: 'image/jpeg', jpeg: 'image/jpeg', png: 'image/png' };
// What every browser takes, whether it says so or sends */*.
var PLAIN = { 'image/jpeg': true, 'image/png': true };

function accepted(header) {
  var found = {};
  header.toLowerCase().split(',').forEach(function (range) {
    var parts = range.split(';');
    var refused = parts.slice(1).some(function (part) { return /^\s*q\s*=\s*0(\.0*)?\s*$/.test(part); });
    found[parts[0].trim()] = !refused;
  });
  return found;
}

function takes(ranges, type) {
  if (type in ranges) return ranges[type];
  if (!PLAIN[type]) return false;
  if ('image/*' in ranges) return ranges['image/*'];
  return ranges['*/*'] !== false;
}

function handler(event) {
  var request = event.request;
  var path = /^\/images\/([0-9a-f-]{36})\/auto$/.exec(request.uri);
  var query = request.querystring;
  if (!path || !query.g || !query.c || !/^[A-Za-z0-9._-]+$/.test(query.g.value)) return request;
  var ranges = accepted(request.headers.accept ? request.headers.accept.value : '');
  var chosen = query.c.value.split(',').filter(function (name) {
    var file = /^[a-z0-9-]+\.([a-z]+)$/.exec(name);
    return file && TYPES[file[1]] && takes(ranges, TYPES[file[1]]);
  })[0];
  if (chosen) request.uri = '/formats/' + path[1] + '/' + query.g.value + '/' + chosen;
  return request;
}
